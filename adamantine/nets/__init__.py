"""Networks as frozen dataclasses: fields are the architecture, `init` draws weights, the call is pure."""
