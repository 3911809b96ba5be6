"""Route handlers, one module per subject; `web.openapi.routes` lists them."""
