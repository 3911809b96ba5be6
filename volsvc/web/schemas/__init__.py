"""Bodies of requests and answers, as pydantic models: the OpenAPI document is made from them."""
