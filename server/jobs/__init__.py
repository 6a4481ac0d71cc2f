"""Jobs: their table and events (``store``), and who runs them (``executor``, ``local``)."""
