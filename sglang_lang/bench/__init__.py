"""Load for servers and engines, and what it measures: `sglang-lang bench`."""
