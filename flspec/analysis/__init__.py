"""What a plan will do, in numbers, before it runs."""
