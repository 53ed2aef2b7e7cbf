"""One folder for each kind: ``desired`` and ``status`` are pure, ``controller`` reads top-down."""
