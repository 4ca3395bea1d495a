"""What the compiled loops of other rooms are made with: functions that vectorise, and machine code kept on the disk."""
