"""Plans, images, runs and checks as text and HTML: plain facts in, formatting only.

Facts are dictionaries of JSON values, as the values' own `as_dict` gives them: nothing
here knows where they come from.
"""
