"""Steps of VDM's network."""
from steps import serve_steps
from vdm import Problem

serve_steps(Problem)
