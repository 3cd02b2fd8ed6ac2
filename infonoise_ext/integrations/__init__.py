"""One file per host library; each imports its library when it is used, and none is imported from here."""
