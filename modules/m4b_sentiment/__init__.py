"""Module 4B: news and posts -> sentiment trajectory."""
