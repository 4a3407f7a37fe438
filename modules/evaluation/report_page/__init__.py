"""What the report is written with: markup, numbers in words, plots, and the page's own style and script."""
