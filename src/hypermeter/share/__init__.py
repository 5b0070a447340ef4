"""Music for others: pictures, sound, reports, export, the server, live playing."""
