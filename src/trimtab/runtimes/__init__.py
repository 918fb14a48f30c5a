"""One file a runtime, opened by name through trimtab.bundle.scorer; each imports its own library at its head."""
