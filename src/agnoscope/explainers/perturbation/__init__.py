"""Methods that change the image and watch the score; they need no gradient unless they say so."""
