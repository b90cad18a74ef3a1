"""Feature space: which images a network holds to be alike, and a map of them all.

Arrays in, arrays and pictures out. Nothing here runs a network or opens a file: features may come from a scan, from
another library or from a test.
"""
