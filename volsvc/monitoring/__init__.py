"""Rules, alerts and dashboards, made from one file of objectives."""
