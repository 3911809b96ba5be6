"""Rules, alerts and dashboards, generated from one file of objectives and one of panels."""
