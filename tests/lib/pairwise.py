"""A choice of a table's rows in which every two settings that go together still meet.

What goes wrong in a combination mostly hangs on one setting or on two that meet, so a table with a row for each
combination shows nearly as much by a choice of its rows. The choice is the same each time.
"""
from itertools import combinations


def pairs(row, columns):
    """Every two of a row's settings; values need not be hashable, and a column left out is a setting, too."""
    settings = [(column, repr(row[column]) if column in row else None) for column in columns]
    return set(combinations(settings, 2)) or set(settings)


def choose(rows):
    """Of {name: {column: value}} the names needed, in the table's order.

    Greedily: the row that shows the most pairs not seen yet, the first of equals. A pair that no row
    has is impossible and asked of none.
    """
    columns = sorted(set().union(*rows.values()))
    shows = {name: pairs(row, columns) for name, row in rows.items()}
    missing, chosen = set().union(*shows.values()), set()
    while missing:
        best = max(shows, key=lambda name: len(shows[name] & missing))
        missing -= shows[best]
        chosen.add(best)
    return [name for name in rows if name in chosen]
