from .data.dataset import Dataset as Dataset
from .data.load import load_dataset as load_dataset
from .network.parameters import initial_weights as initial_weights
from .network.spec import WideResNetSpec as WideResNetSpec
from .population.lineage import replay as replay
from .population.population import Population as Population
from .training.checkpoint import Checkpoint as Checkpoint
from .training.config import TrainingConfig as TrainingConfig
from .training.environment import TrainingEnvironment as TrainingEnvironment
from .training.evaluation import EvalResult as EvalResult
from .training.optimizer import SGD as SGD
from .training.optimizer import Adam as Adam
from .training.optimizer import Muon as Muon
from .training.optimizer import make_optimizer as make_optimizer
from .training.step import StepResult as StepResult
from .training.trained import keras_model as keras_model
from .training.trained import tensorlayer_model as tensorlayer_model

__version__: str
