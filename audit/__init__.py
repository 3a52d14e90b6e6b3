"""What can be proved later: event leaves, the transparency log and its one writer, reconciliation."""
