"""Steps of variational cold diffusion."""
from steps import serve_steps
from vcd import Problem

serve_steps(Problem)
