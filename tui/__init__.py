"""The terminal: how people talk to a running appliance. It knows HTTP and config, and never imports appliance."""
