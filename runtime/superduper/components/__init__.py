"""Components: what users import, each ⇄ a spec. ``from superduper.components.model import Model`` and so on."""
