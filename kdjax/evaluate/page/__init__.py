"""What stands on the report's page, as plain values: a module a section."""
