"""The model that answers: holder, controller, registry clients and cache."""
