"""What every process of this project shares: ranks and devices, signs of life, exit codes."""
