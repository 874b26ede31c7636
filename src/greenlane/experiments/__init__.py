"""What a change is worth: assignment, analysis, planning, and the value of what was not done."""
