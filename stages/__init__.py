"""One short script a stage: open the inputs, call the pipeline, publish the output."""
