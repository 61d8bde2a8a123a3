"""The HTTP server: routes, middleware, composition."""
