"""A detector as a web page and a JSON API, on this machine: `kdjax serve`."""
