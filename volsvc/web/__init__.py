"""The HTTP side: routes, schemas, errors and the documents that describe them."""
