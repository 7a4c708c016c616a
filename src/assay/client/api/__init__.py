"""What an Assay server can be asked, by subject."""
