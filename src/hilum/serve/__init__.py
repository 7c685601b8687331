"""A run in the browser and over REST: films in, probabilities with their doubt, maps and a record out.

Needs the extra `serve`. `app.create_app` makes the application of a `settings.Settings`; `hilum serve RUN` starts it.
"""
