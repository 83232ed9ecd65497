"""Encoders: (B, L) items -> (B, L, H) hidden. One file and one line here each; they import nothing of ours."""

from learec.models.caser import Caser
from learec.models.gru4rec import GRU4Rec
from learec.models.nextitnet import NextItNet
from learec.models.sasrec import SASRec

ENCODERS = {"caser": Caser, "gru4rec": GRU4Rec, "nextitnet": NextItNet, "sasrec": SASRec}
