"""The dashboard's pages, one module each with `page(visit)`; app.py lists them."""
