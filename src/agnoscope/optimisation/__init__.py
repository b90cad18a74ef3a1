"""Images by gradient steps: one loop, and the five parts that a method composes.

    target            what is wanted of the network: `agnoscope.target`, the same objects that attribution explains
    parameterisation  what the steps move: pixels, a spectrum, a pyramid, the code of a generator …
    transformations   how the network looks at the image: shifted, scaled, turned, cut out
    regularisers      what else is wanted of the image itself, and corrections between steps
    optimisers        how a gradient becomes a step

The methods made of them stand in `agnoscope.explainers.synthesis`.
"""
