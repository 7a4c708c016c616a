"""Files of other tools, and of Assay, to what POST /api/import takes: one module a source."""
