"""What a person opens in a browser: one file with everything in it, that asks for nothing and runs nothing foreign."""
