"""`python -m learec`: what `learec train --processes N`, `accelerate launch -m learec` and `torchrun -m learec` start."""

from learec.cli import main

if __name__ == "__main__":
    main()
