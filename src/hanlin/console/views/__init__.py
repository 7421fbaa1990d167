"""One module per page of the console: call the SDK, pick a template, return HTML."""
