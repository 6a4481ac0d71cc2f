"""Jobs: database (``store``, ``queries``), execution (``local``), deletion (``retention``)."""
