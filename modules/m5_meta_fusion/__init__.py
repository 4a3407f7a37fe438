"""Module 5: all signals -> the final decision."""
