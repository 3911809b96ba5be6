"""The HTTP interface: server, routes, schemas, problem details and the OpenAPI document."""
