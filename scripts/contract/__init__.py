"""What the running service answers, held against its OpenAPI document by schemathesis: `make contract`."""
