"""The same view in Rerun, in a browser: of a live run, of recordings and of data sets."""
