"""Where counts come from: routers say what was asked and what failed, model servers what they saw."""
