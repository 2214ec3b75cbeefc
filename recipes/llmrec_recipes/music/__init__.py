"""Music of Last.fm: who listened to which artist how often, and what listeners call artists."""
