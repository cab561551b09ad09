"""A demo call: a scripted agent with mock providers, without network, keys or sound card."""
