"""What one worker does with the trials that it is given."""
