"""One iteration: settings, batch, update, evaluation, and the state that a run keeps."""
