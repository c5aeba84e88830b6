"""The same data synced by ours and by aws-cli, and what both leave behind compared."""
